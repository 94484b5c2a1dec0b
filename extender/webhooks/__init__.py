"""kube-scheduler's wire protocol: filter, prioritize, bind, preempt."""
