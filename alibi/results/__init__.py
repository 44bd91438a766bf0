"""Result files: the schema, what was measured, reading and writing. A leaf: knows no models, runs or training."""

from alibi.results.nats import load_nats
from alibi.results.open_result import OpenResult
from alibi.results.parts import METRICS
from alibi.results.result import Measured, Result, adapt_slug, protocol_name, said_of_uncovered
from alibi.results.result_file import find_results, load_result, load_results, lock, write_result
from alibi.results.schema import SCHEMA, TOLERANCE, exp
