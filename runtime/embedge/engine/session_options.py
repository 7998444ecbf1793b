"""ONNX Runtime's options for a graph of ours, on whatever device it runs."""

from typing import Any

from embedge.engine.kernels import EXACT, integer_kernel
from embedge.engine.loading import LOG_FATAL, load_runtime

# Microseconds that a thread without work stays awake. ONNX Runtime's own way is to count turns,
# which kept each waiting thread busy for 10 to 30 ms after every run: on 2 threads of a Zen 5, a
# query of 16 tokens before a pause took 82 ms of CPU time instead of 50 with v5-text-small, and 14
# or more instead of 2.4 with the bundled model, at the same speed. 200 are enough for the large
# model, and made the small one's queries slower by 7 to 14 % and more (tests/bench/pauses.py).
# Versions of ONNX Runtime that do not know the setting count turns.
SPIN_MICROSECONDS = 1000


def session_options(threads: int, *, spin: bool = True) -> Any:
    """Threads, memory, and exact integer kernels, as an `onnxruntime.SessionOptions`."""
    options = load_runtime().SessionOptions()
    options.log_severity_level = LOG_FATAL  # what fails is raised; stderr is the host's
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if not spin:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    else:
        duration = str(SPIN_MICROSECONDS)
        options.add_session_config_entry("session.intra_op.spin_duration_us", duration)
    # Without it every buffer comes from malloc, which neither reuses nor returns aligned blocks of
    # this size well: 2,048 tokens of a 0.6B decoder took 3.6 GB instead of 0.5 GB.
    options.enable_cpu_mem_arena = True
    # By the name alone it would take a file for its own format, which nothing here checks.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # Plans memory for each shape that it meets and keeps the plan: shapes vary here.
    options.enable_mem_pattern = False
    if integer_kernel().value != EXACT:
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options
