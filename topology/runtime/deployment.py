"""Deploying: one host to a machine of its own, and the others led to it there."""

from __future__ import annotations

from topology.runtime import contexts, looking, machines, placement, stacks
from topology.runtime.lab import Lab
from topology.runtime.placement import Place, remember
from topology.runtime.preparation import forget_override
from topology.runtime.progress import SILENT, Progress
from topology.runtime.running import RunningLab
from topology.runtime.task import Prove, Task, proves_nothing


def deploy(
    lab: Lab, host: str, place: Place, *, prove: Prove = proves_nothing, progress: Progress = SILENT
) -> RunningLab:
    """Brings one host up on another engine, and leads the hosts that run already to it there.

    The host is proven in its new place before anybody is led there, and taken away from its old one after that; where
    it fails, what ran keeps running as it was.  Raises InvalidInput, NoEngine, NotReady.
    """
    values = stacks.environment_values(lab)
    contexts.engine_of(place.context)
    with stacks.exclusively(lab, progress):
        before = placement.read(lab.placement)
        places = before | {host: place}
        left = before[host].context if host in before else machines.THIS
        found = machines.find(lab.topology, places, also=[left])
        for other, error in found.lost.items():
            progress.step(f"{error}; {other} is left as it is")
        placement.refuse_clashes(lab.topology, places, found.together)
        if place.bind == placement.EVERYWHERE:
            progress.step(f"{host}: listens on every address of its machine; --bind names one")
        others = [h for h in looking.running_hosts(lab, found) if h != host]
        chosen = [h for h in others if h not in places and looking.has_chosen_ports(lab, found, h)]
        task = Task(lab, places, found, chosen, values, prove, stacks.compose_up, progress)
        remember(lab.placement, places)
        try:
            lab_up = stacks.bring_up(task, [host])
        except BaseException:
            remember(lab.placement, before)
            if host not in before:
                forget_override(lab, host)
            raise
        if others:
            lab_up = stacks.bring_up(task, others, prove=[host, *others])
        stacks.remove_strays(task)
        stacks.say_what_is_cut(task)
        return lab_up
