"""One run of Vowpal Wabbit with the arguments given; prints the seconds that its pass over the examples took."""

import json
import sys
import time

import vowpalwabbit

started = time.perf_counter()
# With --passes among the arguments the workspace reads its data to the end before it is handed over.
workspace = vowpalwabbit.Workspace(arg_list=[*sys.argv[1:], "--quiet"])
seconds = time.perf_counter() - started
workspace.finish()
print(json.dumps({"seconds": seconds}))
