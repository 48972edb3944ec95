"""Which module a Job of k8s/ runs, and the options that it has."""

import importlib


def module(job: str) -> str:
    """Return the name of the module in jobs/ that a Job runs."""
    return "train" if job == "train-multiworker" else job


def options(name: str) -> dict[str, str]:
    """Return the option behind each variable that a job reads."""
    main = importlib.import_module(f"jobs.{name}").main
    return {o.envvar or f"DOGBREED_{name}_{o.name}".upper(): o.opts[0] for o in main.params}
