"""What OpsConductor talks about: tools, plans, executions, outcomes, assets and errors.

Frozen data and pure functions only: nothing here touches a disk, a network or a clock.
Everyone may import this package; it imports nothing of ours.
"""
