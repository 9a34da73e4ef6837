"""Real services on the loopback interface that tests run against."""
