"""``inv destroy``: nothing of the environment is left on this machine."""

from __future__ import annotations

import shutil

from golive import engine
from golive.environment import Environment
from golive.errors import GoliveError
from golive.fleet.inventory import forget_fleet
from golive.fleet.lock import held
from golive.ground.tool import owner, rows, tell, terraform
from golive.lab import image, preflight
from golive.lab.sweep import leftovers, sweep
from golive.verbs.result import Result

__all__ = ["destroy"]


def destroy(env: Environment, *, with_image: bool = False) -> Result:
    """Removes the lab's hosts, networks, links, keys and CA; works when some of it is gone already, or Terraform's state is.

    Of an environment with machines of its owner's it forgets what it recorded, and leaves the machines alone. The key that signed the
    lab's releases stays, with the releases; the host image stays as a cache unless ``with_image``.
    """
    if env.is_sim:
        return _unmade(env)
    if env.is_lab:
        preflight.check(env)
    with held(env, "destroy"):
        engine.forget(env, "destroy")
        changes = []
        try:
            tool = terraform(env)
            if tool.has_state:
                tool.init()
                plan = tool.plan(destroy=True)
                tell(plan.summary)
                tool.apply(plan)
                changes = rows(plan.changes)
        except GoliveError as error:
            if not env.is_lab:
                raise
            tell(f"Terraform could not remove all of it ({error.message}); removing what is left by its labels.")
        swept = sweep(env.name, owner(env)) if env.is_lab else []
        for name in ("terraform.tfstate", "terraform.tfstate.backup", "plan.bin", "destroy.bin"):
            (env.state / "terraform" / name).unlink(missing_ok=True)
        forget_fleet(env)
        removed_images = []
        left = []
        if env.is_lab:
            _forget_keys(env)
            left = sorted(set(leftovers(env.name)))
            removed_images = image.remove() if with_image else []
    removed = sorted({row["name"] for row in changes} | set(swept))
    text = f"Environment {env.name}: {len(removed)} things removed." if removed else f"Environment {env.name}: nothing to remove."
    if not env.is_lab:
        text = f"Environment {env.name}: forgotten here; its machines were left alone."
    if left:
        text += f"\nStill there, and not of this checkout: {', '.join(left)}."
    return Result({"schema": 1, "env": env.name, "removed": removed, "left": left, "images": removed_images}, text)


def _unmade(env: Environment) -> Result:
    """Simulated hosts are their directories; journal, keys and releases stay, as the lab's do."""
    with held(env, "destroy"):
        engine.forget(env, "destroy")
        removed = sorted(path.name for path in (env.state / "world" / "hosts").glob("*"))
        shutil.rmtree(env.state / "world" / "hosts", ignore_errors=True)
        forget_fleet(env)
    data = {"schema": 1, "env": env.name, "removed": removed, "left": [], "images": []}
    return Result(data, f"Environment {env.name}: {len(removed)} simulated hosts removed.")


def _forget_keys(env: Environment) -> None:
    for name in ("operator", "operator.pub"):
        (env.state / "keys" / name).unlink(missing_ok=True)
    for directory in (env.state / "keys" / "hosts", env.state / "pki"):
        shutil.rmtree(directory, ignore_errors=True)
