"""``pytest -vv tests/parity`` ends with a table: the largest relative difference of every quantity compared."""

from tests.parity.compare import DIFFERENCES


def pytest_terminal_summary(terminalreporter):
    if DIFFERENCES and terminalreporter.config.get_verbosity() > 0:
        terminalreporter.section("largest relative differences to the release")
        for name, difference in sorted(DIFFERENCES.items()):
            terminalreporter.write_line(f"{name:<55} {difference:.1e}")
