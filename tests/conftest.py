"""What tests of the real thing share: the machine's settings, an engine, images and a kernel source, each made once.

Imports stand in the fixtures: tests of one room do not depend on the others being importable.
"""

import dataclasses
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("lab", deadline=None)  # no test asserts a time: the machine may be busy
hypothesis.settings.load_profile("lab")


def pytest_collection_modifyitems(items):
    """Let files with slow tests come first: the many short ones then fill what is left at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def repository():
    return Path(__file__).parent.parent


@pytest.fixture(scope="session")
def rows():
    from lab import cli

    return cli.load_tables()


@pytest.fixture(scope="session")
def machine_settings():
    from lab import cli

    return cli.settings()


@pytest.fixture
def real(machine_settings, tmp_path):
    """The machine's settings with results of the test's own; the cache is shared with everyone, as in real use."""
    return dataclasses.replace(machine_settings, results=tmp_path / "results")


@pytest.fixture(scope="session")
def engine(machine_settings):
    from lab.environment import engine as engines

    with engines.connect(machine_settings) as connected:
        yield connected


@pytest.fixture(scope="session")
def build_image(engine, rows, machine_settings):
    from lab.environment import image

    return image.prepare(rows.image["bookworm-amd64-gcc12"], engine, machine_settings)


@pytest.fixture(scope="session")
def mount_image(engine, rows, machine_settings):
    import os

    from lab.environment import image

    name = rows.mount_image(os.uname().machine)
    return image.prepare(rows.image[name], engine, machine_settings)


@pytest.fixture(scope="session")
def boot_image(engine, rows, machine_settings):
    from lab.environment import image

    return image.prepare(rows.image["bookworm-amd64-qemu"], engine, machine_settings)


@pytest.fixture(scope="session")
def linux(machine_settings):
    """linux 6.1, unpacked."""
    from lab.environment import source
    from lab.model import DebianSource

    return source.prepare(DebianSource(package="linux-source-6.1", suite="bookworm"), machine_settings)
