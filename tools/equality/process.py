"""Runs cases in a process of its own: devices must be chosen before TensorFlow starts.

Usage: python -m tools.equality.process --output=FILE.npz [--replicas=1,4] [--precisions=float64]
           [--cases=student:2,batch_norm] [--eagerly]
With TF_CONFIG in the environment it is one worker of that cluster, else it splits the CPU. FILE
gets an array for every number that is compared, named precision|case|replicas|kind|variable.
A case takes 5 steps, unless their number stands behind its name.
--eagerly takes the steps as Python, without tracing them, which is quicker for so few.
"""

from __future__ import annotations

import argparse
import os
import sys


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", required=True)
    parser.add_argument("--replicas", default="1")
    parser.add_argument("--precisions", default="float32,float64")
    parser.add_argument("--cases", default="")
    parser.add_argument("--eagerly", action="store_true")
    given = parser.parse_args()

    import keras
    import numpy as np
    import tensorflow as tf

    from std_keras.training.strategy import create_strategy
    from tools.equality import cases
    from tools.equality.compare import SEPARATOR

    if os.environ.get("TF_CONFIG"):
        strategies = [create_strategy("multi_worker")]
    else:
        counts = [int(count) for count in given.replicas.split(",")]
        most = create_strategy("mirrored", logical_cpus=max(*counts, 2))
        devices = [f"CPU:{i}" for i in range(most.num_replicas_in_sync)]
        strategies = [
            create_strategy("one_device")
            if count == 1
            else tf.distribute.MirroredStrategy(devices[:count])
            for count in counts
        ]
    # Each graph runs a few times only: optimising it would take longer than running it.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    tf.config.run_functions_eagerly(given.eagerly)
    dataset = cases.load_digits()
    arrays = {}
    for precision in given.precisions.split(","):
        keras.config.set_dtype_policy(precision)
        for case in given.cases.split(",") if given.cases else cases.CASES:
            name, _, steps = case.partition(":")
            for strategy in strategies:
                done = cases.take_steps(
                    cases.CASES[name], steps=int(steps or 5), dataset=dataset, strategy=strategy
                )
                place = (precision, name, str(strategy.num_replicas_in_sync))
                for kind in ("start", "gradients", "end"):
                    for variable, value in getattr(done, kind).items():
                        arrays[SEPARATOR.join((*place, kind, variable))] = value
                apart = np.array(done.apart, dtype=np.str_)
                arrays[SEPARATOR.join((*place, "apart", ""))] = apart
    np.savez(given.output, **arrays)
    sys.stdout.flush()
    # The orderly shutdown of TensorFlow's cluster service aborts whoever leaves later.
    os._exit(0)


if __name__ == "__main__":
    main()
