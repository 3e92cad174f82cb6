"""``python -m benchmarks``: measure, print the rows, draw them, and rewrite the table of the README where asked to."""

import argparse
from pathlib import Path

from benchmarks import report
from benchmarks.run import bench


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("cases", nargs="*", help="what to measure (default everything)")
    parser.add_argument("--size", default="paper", help="paper, the paper's setting (minutes, up to 18 GB), or small")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--runs", type=int, default=5, help="measurements per variant (default 5)")
    parser.add_argument("--plain-runs", type=int, default=1, help="the same for the plain training step (default 1)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--out", type=Path, default=Path("figures/benchmarks.json"), help="file to add the rows to")
    parser.add_argument("--readme", type=Path, help="rewrite the table between the markers in this file")
    arguments = parser.parse_args(words)
    rows = bench(
        arguments.out,
        arguments.cases,
        size=arguments.size,
        device=arguments.device,
        runs=arguments.runs,
        plain_runs=arguments.plain_runs,
        threads=arguments.threads,
    )["rows"]
    print("\n".join(report.table(rows)))
    report.picture(rows, arguments.out.with_suffix(".png"))
    if arguments.readme:
        report.write_table(rows, arguments.readme)
    print(f"rows and picture are in {arguments.out} and {arguments.out.with_suffix('.png')}")


if __name__ == "__main__":
    main()
