import json
import os
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist

from ganmix.engine.world import World, world

LENGTHS = (0, 1, 2, 3, 7, 9)


def work(rank, size, port, folder):
    """Be one process as torchrun starts it: write what the world gave it, or die with a traceback."""
    torch.set_num_threads(1)
    # With the agent's store, as torchrun has it, no process has to win a port.
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    os.environ.update(place, RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank))
    with world() as here:
        watched = []

        def watch(items):
            watched.append([*items])
            return items

        found = {
            "place": [here.rank, here.size, here.local_rank, here.speaks],
            "device": str(here.place(torch.device("cuda"))),
            "maps": [here.map(lambda item: [item, rank], range(length), watch) for length in LENGTHS],
            "watched": watched,
            "shared": here.share({"from": rank}),
            "tensor": here.share(torch.full((2,), float(rank))).tolist(),
        }
    found["joined"] = dist.is_initialized()
    (folder / f"{rank}.json").write_text(json.dumps(found))


@pytest.mark.parametrize("size", [2, 3])
def test_processes_share_the_work_and_rank_0_gets_all_of_it_in_order(size, forks, tmp_path):
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=60))
    processes = [forks.Process(target=work, args=(rank, size, store.port, tmp_path)) for rank in range(size)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        process.kill()  # one that hangs
    assert [process.exitcode for process in processes] == [0] * size
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(size)]
    for rank, its in enumerate(found):
        assert its["place"] == [rank, size, rank, rank == 0]
        assert its["device"] == f"cuda:{rank}"
        assert its["shared"] == {"from": 0}
        assert its["tensor"] == [0, 0]
        assert its["watched"] == [[*range(rank, length, size)] for length in LENGTHS]
        assert not its["joined"]
    assert found[0]["maps"] == [[[item, item % size] for item in range(length)] for length in LENGTHS]
    assert all(its["maps"] == [[]] * len(LENGTHS) for its in found[1:])


def test_one_process_alone_maps_in_order_and_joins_nothing(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with world() as here:
        assert not dist.is_initialized()
        assert here == World(rank=0, size=1, local_rank=0)
        assert here.speaks
        assert here.map(lambda item: 2 * item, (1, 5, 3)) == [2, 10, 6]
        assert here.map(lambda item: 2 * item, (1, 5, 3), lambda items: items[:2]) == [2, 10]
        value = object()
        assert here.share(value) is value


def test_one_process_under_torchrun_is_alone(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    with world() as here:
        assert here == World()
        assert not dist.is_initialized()


def test_only_processes_that_share_gpus_are_put_on_their_own():
    cpu, second = torch.device("cpu"), torch.device("cuda", 1)
    assert World(1, 2, 1).place(cpu) == cpu
    assert World().place(second) == second
    assert World(5, 8, 1).place(torch.device("cuda")) == second  # the second of its machine
