"""The published system as a reference: its allocation and its controllers, number for number.

Source: Kube_Gang_Scheduling (Vanderbilt, 2021-2024), re-implemented from a description of its behaviour.
Nothing in here is an improvement; `extender.bsp.core.controllers` has those.
"""
