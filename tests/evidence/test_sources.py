"""Where a source tree exports a symbol, and which options build that file."""

import pytest

from lab.evidence import sources

MAKEFILE = "# SPDX\nVERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 192\nEXTRAVERSION =\n"


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "linux"
    files = {
        "Makefile": MAKEFILE,
        "scripts/mod/modpost.c": "",
        "drivers/mcb/Makefile": "obj-$(CONFIG_MCB) += mcb.o\nmcb-y += \\\n\tmcb-core.o \\\n\tmcb-parse.o\n",
        "drivers/mcb/mcb-core.c": "int x;\n\nEXPORT_SYMBOL_NS_GPL(mcb_alloc_bus, MCB);\n",
        "drivers/net/Makefile": "net-$(CONFIG_NET_X) += x.o\nobj-$(CONFIG_NET) += net.o\n",
        "drivers/net/x.c": "EXPORT_SYMBOL(net_x);\nEXPORT_TRACEPOINT_SYMBOL_GPL(net_event);\n"
        "EXPORT_STATIC_CALL_TRAMP(net_call);\n",
        "drivers/pci/access.c": "EXPORT_SYMBOL_GPL(pci_user_read_config_##size);\n",
        "arch/x86/lib/putuser.S": "EXPORT_SYMBOL(__put_user_4)\n",
        "arch/arm/lib/putuser.S": "EXPORT_SYMBOL(arm_only)\n",
        "Documentation/x.c": "EXPORT_SYMBOL(of_a_page);\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("symbol", "place"),
    [
        ("mcb_alloc_bus", ("drivers/mcb/mcb-core.c", 3)),
        ("net_x", ("drivers/net/x.c", 1)),
        ("__tracepoint_net_event", ("drivers/net/x.c", 2)),
        ("__SCT__net_call", ("drivers/net/x.c", 3)),
        ("__put_user_4", ("arch/x86/lib/putuser.S", 1)),
        ("__SCK__net_call", None),  # only the trampoline is exported
        ("arm_only", None),  # of another architecture
        ("of_a_page", None),
        ("pci_user_read_config_byte", None),  # a macro names it
        ("pci_user_read_config_", None),
        ("mcb_alloc", None),
    ],
)
def test_the_export_of_a_symbol_is_found_with_its_line(tree, symbol, place):
    assert sources.exporters(tree, {symbol}, "x86").get(symbol) == place


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("drivers/mcb/mcb-core.c", ("MCB",)),
        ("drivers/net/x.c", ("NET_X", "NET")),
        ("drivers/pci/access.c", ()),
    ],
)
def test_the_options_that_build_a_file_are_those_of_its_makefile(tree, path, options):
    assert sources.options_of(tree, path) == options


def test_a_source_tree_is_found_by_link_by_makefile_or_in_place_if_its_version_is_right(tree, tmp_path):
    linked, included = tmp_path / "linked", tmp_path / "included"
    linked.mkdir()
    included.mkdir()
    (linked / "source").symlink_to(tree)
    (included / "Makefile").write_text(f"# Automatically generated\ninclude {tree}/Makefile\n")
    for out in (linked, included, tree):
        found = sources.source_tree(out, "6.1.192-rt8")
        assert found is not None
        assert found.samefile(tree)
        assert sources.source_tree(out, "6.1.191") is None
        assert sources.source_tree(out, "") is None


def test_a_link_out_of_the_tree_is_not_followed(tree, tmp_path):
    secret = tmp_path / "secret.c"
    secret.write_text("EXPORT_SYMBOL(secret);\n")
    (tree / "drivers" / "secret.c").symlink_to(secret)
    (tree / "drivers" / "loop").symlink_to(tree)
    assert sources.exporters(tree, {"secret"}, "x86") == {}
