"""The committed list of what a submitter may do."""

READ = ("get", "list", "watch")
ALLOWED = {  # each with a command that needs it
    **dict.fromkeys([("jobs", verb) for verb in READ], "make wait JOB=train"),
    ("jobs", "create"): "make submit JOB=train",
    ("jobs", "delete"): "kubectl delete job train",
    **dict.fromkeys([("pods", verb) for verb in READ], "make wait JOB=train, make logs JOB=train"),
    **dict.fromkeys([("events", verb) for verb in READ], "make wait JOB=train, kubectl describe pod"),
    ("pods/log", "get"): "make logs JOB=train",
    ("services", "get"): "kubectl port-forward service/mlflow 5000",
    **dict.fromkeys([("pods/portforward", verb) for verb in ("get", "create")], "kubectl port-forward"),
    **dict.fromkeys([("workloads", verb) for verb in READ], "kubectl get workloads"),
}
