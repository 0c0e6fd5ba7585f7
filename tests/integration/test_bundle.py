"""A bundle on a machine without any network: it runs, and a changed, added or re-signed byte is refused before anything of it runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from golive.lab import image
from tests.support.prodlike import Owner, _checkout, _keys, run

pytestmark = pytest.mark.timeout(420)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Owner, Path]]:
    """An owner's checkout with its signing key, and the bundle made of it, unpacked."""
    work = tmp_path_factory.mktemp("owner")
    world = Owner(work, "", "")
    _checkout(world)
    _keys(world)
    kept = image.cache_dir() / "bundle-wheels"
    inside = world.checkout / ".golive" / "cache" / "bundle-wheels"
    if kept.is_dir():
        shutil.copytree(kept, inside)
    code, made, said = world.inv("package", "--env", "prod", "--release", "1.1.0", "--key", str(work / "release"))
    assert code == 0, said
    code, made, said = world.inv(
        "bundle", "--env", "prod", "--release", "1.1.0", "--key", str(work / "release"), "--output", str(work / "b.tar")
    )
    assert code == 0, said
    assert made["releases"][0].startswith("1.1.0-") and made["files"] > 300
    if not kept.is_dir():
        shutil.copytree(inside, kept)
    (work / "site").mkdir()
    run("tar", "-xf", made["path"], "-C", work / "site")
    yield world, next((work / "site").iterdir())


def inv(top: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`./inv` of the bundle, in a network namespace that has not even loopback up."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
    argv = ["unshare", "-n", str(top / "inv"), *words]
    return subprocess.run(argv, cwd="/", env={**kept, **env}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def signers(world: Owner) -> str:
    public = " ".join((world.work / "release.pub").read_text().split()[:2])
    path = world.work / "bundle_signers"
    path.write_text(f'packer@example.net namespaces="dwcp-bundle" {public}\n')
    return str(path)


def test_nobody_s_bundle_is_refused(packed: tuple[Owner, Path]) -> None:
    world, top = packed
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", world.work / "stranger")
    public = " ".join((world.work / "stranger.pub").read_text().split()[:2])
    (world.work / "others").write_text(f'x@example.net namespaces="dwcp-bundle" {public}\n')
    done = inv(top, "--list", GOLIVE_BUNDLE_SIGNERS=str(world.work / "others"))
    assert done.returncode == 2 and "signed by nobody in" in done.stderr
    assert not (top / ".venv").exists()


def test_sums_changed_together_with_a_file_are_refused(packed: tuple[Owner, Path]) -> None:
    _, top = packed
    sums, wheel = top / "SHA256SUMS", next((top / "wheels").glob("invoke-*.whl"))
    before, content = sums.read_text(), wheel.read_bytes()
    try:
        old = run("sha256sum", wheel).split()[0]
        wheel.write_bytes(content + b"x")
        sums.write_text(before.replace(old, run("sha256sum", wheel).split()[0]))
        done = inv(top, "--list")
        assert done.returncode == 2 and "SHA256SUMS was changed after it was signed" in done.stderr
        sums.write_text(before)
        done = inv(top, "--list")
        assert done.returncode == 2 and f"wheels/{wheel.name}: FAILED" in done.stderr
    finally:
        sums.write_text(before)
        wheel.write_bytes(content)
    assert not (top / ".venv").exists()


def test_it_runs_without_any_network(packed: tuple[Owner, Path]) -> None:
    world, top = packed
    done = inv(top, "preflight", "--env", "prod", "--json", GOLIVE_BUNDLE_SIGNERS=signers(world))
    assert "this bundle was packed by packer@example.net" in done.stderr
    # The inventory is the site's to write; that it is missing is all that is wrong.
    assert done.returncode == 2 and "hosts.yaml does not exist" in json.loads(done.stdout)["error"]["message"]
    assert next(path.name for path in (top / ".golive" / "releases").iterdir() if path.name[0] != ".").startswith("1.1.0-")
    terraform = (
        "from golive.fleet.terraform import _bundled; import subprocess; print(subprocess.run([str(_bundled()), 'version'], check=True))"
    )
    run("unshare", "-n", top / ".venv/bin/python", "-c", terraform)


def test_prepared_it_refuses_code_that_was_changed_or_added_and_takes_the_owners_files(packed: tuple[Owner, Path]) -> None:
    _, top = packed
    policy = top / "policies" / "prod.yaml"
    policy.write_text(policy.read_text() + "# ours\n")
    (top / "inventories" / "prod" / "hosts.yaml").write_text("hosts: []\n")
    assert inv(top, "--list").returncode == 0
    code = top / "golive" / "errors.py"
    content = code.read_text()
    code.write_text(content + "\n")
    done = inv(top, "--list")
    assert done.returncode == 2 and "golive/errors.py: FAILED" in done.stderr
    code.write_text(content)
    (top / "golive" / "verbs" / "extra.py").write_text("")
    done = inv(top, "--list")
    assert done.returncode == 2 and "golive/verbs/extra.py, which was not packed" in done.stderr
    (top / "golive" / "verbs" / "extra.py").unlink()
    assert inv(top, "--list").returncode == 0
