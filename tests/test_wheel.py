"""The wheel that is published can be installed and started."""

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import httpx

ROOT = Path(__file__).parent.parent


def run(*argv: str, cwd: Path = ROOT) -> str:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, f"{argv}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_built_wheel_is_installed_and_serves(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(ROOT / "proxy", source / "proxy", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / name, source / name)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), cwd=source)
    (wheel,) = tmp_path.glob("mcp_proxyd-*.whl")
    venv = tmp_path / "venv"
    run(sys.executable, "-m", "venv", str(venv))
    run(str(venv / "bin/python"), "-m", "pip", "install", "--no-index", "--no-deps", str(wheel))
    # The dependencies are those of the environment that runs the tests; the package itself is the wheel's.
    (site_packages,) = venv.glob("lib/python*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    where = run(str(venv / "bin/python"), "-c", "import proxy; print(proxy.__file__)", cwd=tmp_path)
    assert where.startswith(str(site_packages))
    assert run(str(venv / "bin/mcp-proxyd"), "--version", cwd=tmp_path).strip()

    process = subprocess.Popen(
        [str(venv / "bin/mcp-proxy"), "--demo", "--port", "0"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        url = next(found[1] for line in process.stderr if (found := re.search(r"serving.*?(http://\S+)", line)))
        assert httpx.get(url.replace("/mcp", "/readyz"), timeout=20).status_code == 200
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0
