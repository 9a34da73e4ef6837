"""What two real processes do with halves of a batch; a module of its own, for they find it by its name."""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from csmoe_model.config import LossConfig
from csmoe_model.nn.across import Across
from csmoe_model.nn.masking import Mask
from csmoe_model.nn.model import CSMoE
from csmoe_model.train.checkpoint import State, load_state, load_weights, resolve, save_checkpoint
from model.small_models import batch_of, model_config, train_config

PLACES = 6
LOSSES = [LossConfig(mde=0.5), LossConfig(cmr=0, mim=2.0), LossConfig(umr=0, cmr=0, mim=0, mde=1)]


def whole_batch(config):
    """Six places; sensors and pixels are missing here and there, in the two halves differently."""
    images, masks = batch_of(config, PLACES)
    chance = torch.Generator().manual_seed(3)
    valid = {name: torch.rand(x.shape, generator=chance) < 0.9 for name, x in images.items()}
    valid["s1"][1] = False  # a place without a sensor, in the first half
    valid["s2"][3:5] = False  # two in the second
    valid["s2"][0, :, 5:] = False  # most of a place
    return {name: x.masked_fill(~valid[name], 0.0) for name, x in images.items()}, masks, valid


def part_of(batch, keep):
    images, masks, valid = batch
    return (
        {name: x[keep] for name, x in images.items()},
        {name: Mask(mask.visible[keep], mask.hidden[keep]) for name, mask in masks.items()},
        {name: x[keep] for name, x in valid.items()},
    )


def gradients(model, batch):
    objective = model(*batch)
    objective.total.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, objective


def made(loss):
    torch.manual_seed(0)
    return CSMoE(model_config(loss=loss)).double()


def double(batch):
    images, masks, valid = batch
    return {name: x.double() for name, x in images.items()}, masks, valid


def learn_in_halves(rank, world, folder):
    """Every process: gradients through DDP of its half, for each of the losses; the first writes them down."""
    half = slice(rank * PLACES // world, (rank + 1) * PLACES // world)
    for k, loss in enumerate(LOSSES):
        model = made(loss)
        wrapped = DistributedDataParallel(model, find_unused_parameters=not loss.cmr)
        batch = part_of(double(whole_batch(model.config)), half)
        objective = wrapped(*batch)
        objective.total.backward()
        found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        terms = {name: value.detach().clone() for name, value in objective.terms.items()}
        for value in terms.values():
            dist.all_reduce(value)
        if rank == 0:
            torch.save((found, {name: value / world for name, value in terms.items()}), folder / f"{k}.pt")
    check_rows(rank, world)
    check_sharded(rank, folder)


def check_rows(rank, world):
    """Rows in the order of ranks; the mean of gradients over processes is that of the mean of their losses."""
    across = Across()
    own = torch.arange(3.0) + 10 * rank
    x = own.clone().requires_grad_()
    rows = across.rows(x)
    assert rows.tolist() == [0, 1, 2, 10, 11, 12]
    (rows * torch.arange(1.0, 7.0)).sum().mul(rank + 1.0).backward()  # losses that differ: weights 1 and 2
    mean = x.grad / world
    assert mean.tolist() == (torch.arange(1.0, 7.0) * 1.5)[3 * rank : 3 * rank + 3].tolist()
    assert across.rows(torch.tensor([rank == 1, True])).tolist() == [False, True, True, True]
    counts = torch.tensor([rank, 5])
    assert across.total(counts).tolist() == [1, 10]
    assert counts.tolist() == [rank, 5]
    assert not across.total(torch.ones(2, requires_grad=True)).requires_grad


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 3), nn.Linear(3, 4)

    def forward(self, x):
        return self.second(self.first(x))


def check_sharded(rank, folder):
    """FSDP spreads parameters and state; a checkpoint holds them whole, and opens anywhere."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    def sharded(seed):
        torch.manual_seed(seed)
        model = fully_shard(Two(), mesh=init_device_mesh("cpu", (2,)))
        return model, torch.optim.AdamW(model.parameters(), lr=0.1)

    def step(model, optimiser):
        model(torch.ones(2, 5)).square().sum().backward()
        optimiser.step()
        optimiser.zero_grad()

    model, optimiser = sharded(0)
    step(model, optimiser)
    save_checkpoint(folder / "sharded", model, optimiser, State(step=1), train_config(), 1)
    dist.barrier()
    last = resolve(folder / "sharded")
    torch.manual_seed(5)
    again = Two()
    load_weights(again, last)
    again = fully_shard(again, mesh=init_device_mesh("cpu", (2,)))
    other = torch.optim.AdamW(again.parameters(), lr=0.1)
    assert load_state(last, again, other).step == 1
    for one, two in ((model, optimiser), (again, other)):
        step(one, two)
    for one, two in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one.full_tensor(), two.full_tensor())
    save_checkpoint(folder / "sharded", model, optimiser, State(step=2), train_config(), 2)
