"""The plan: when every application starts, and how wide it runs, so that the whole cluster emits least.

The plan is a table of room: capacity by place and resource, in slots of 15 minutes as far ahead as the
forecast reaches. Running applications are written into it first, until their estimated end. Applications that
do not wait by choice follow in the order of the queue, each as early as it fits. What room is left is shared
out among those that may wait, the least slack first: each gets the start of least expected carbon, over the
whole of its run, at which it fits beside everything that was written before it and which is not after its
latest start. Where somebody would be left without room by that, room for all the latest starts is written
first, and each exchanges it for the best that is left. An application whose planned start has not come is
held, unless it would rather start now and is in the way of no latest start. So a hold never costs room that
somebody else waits for, a latest start has room before it is needed, free room in a clean hour is used, and
held applications are spread over the clean hours instead of all waiting for the same one.

`horizon` is the forecast in slots, `room` the table, `schedule` the plan itself, `runtimes` how long things
run. `elastic` finds the widths of one application by itself, `baselines` what it is compared with.
"""
