"""kube-scheduler's wire protocol: filter, prioritize, bind, preempt. Bytes in, bytes out."""
