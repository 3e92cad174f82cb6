"""One measurement in a process of its own: ``python -m benchmarks.worker '{"do": "time", "case": "warps", ...}'``.

The last line that it prints is JSON. ``python -m benchmarks`` calls it; there is no need to.
"""

import json
import os
import sys
import tempfile
from dataclasses import asdict

import torch

from benchmarks.cases import CASES, SIZES
from benchmarks.measure import side_by_side, with_peak_memory
from benchmarks.run import all_cases


def main(arguments: dict) -> dict:
    """Do what ``arguments`` say.

    Parameters
    ----------
    arguments : "do" is "time" (all variants in turn, "runs" rounds), "memory" (one call of "variant", cold but for a
        call at a tiny size), "check" or "extra"; "case", "size" and "device" say of what.
    """
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    case = CASES.get(arguments["case"]) or all_cases()[arguments["case"]]
    shape, device = SIZES[arguments["size"]], torch.device(arguments["device"])
    if arguments["do"] == "time":
        taken = side_by_side(case.build(shape, device), arguments["runs"], device)
        return {name: [asdict(one) for one in runs] for name, runs in taken.items()}
    if arguments["do"] == "memory":
        case.build(SIZES["tiny"], device)[arguments["variant"]]()
        one, peak = with_peak_memory(case.build(shape, device)[arguments["variant"]], device)
        return {**asdict(one), "bytes": peak}
    function = getattr(case, arguments["do"])
    return function(shape, device)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        os.environ["PARTLIB_CACHE"] = cache
        print(json.dumps(main(json.loads(sys.argv[1]))))
