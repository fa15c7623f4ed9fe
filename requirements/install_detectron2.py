"""Install Detectron2's Python code, pinned by hash, into the environment that runs this script.

The wheel is tagged for CPython 3.10 and has an extension module built for another PyTorch, but
its Python code runs on any newer version; docs/installation.md says more.
"""

import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

REQUIREMENT = Path(__file__).with_name("detectron2.txt")


def main() -> None:
    site_packages = Path(sysconfig.get_paths()["purelib"])
    with tempfile.TemporaryDirectory(dir=site_packages) as folder:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
        command += ["--require-hashes", "-r", str(REQUIREMENT), "--target", folder]
        # The tag of the wheel, whatever Python is running.
        command += ["--only-binary=:all:", "--implementation=cp", "--python-version=3.10"]
        subprocess.run(command, check=True)
        package = Path(folder, "detectron2")
        for extension in package.glob("_C*"):
            extension.unlink()
        # The wheel's other top-level package, "tools", has a name that is not Detectron2's to take.
        for source in (package, *Path(folder).glob("*.dist-info")):
            target = site_packages / source.name
            shutil.rmtree(target, ignore_errors=True)
            shutil.move(source, target)


if __name__ == "__main__":
    main()
