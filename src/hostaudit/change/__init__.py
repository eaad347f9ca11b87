"""Changes hosts, and takes changes back: the steps of one batch, and what runs them.

context    what every step needs: hosts and how they are reached, the journal, the windows, the clock
turn       one batch, from the reading before to the confirmation, or back
apply      a plan: stale or not, canaries, batches, what to do when one fails
undo       ``hostaudit rollback``: a confirmed change, the same way
resume     a change whose controller died
watch      who takes a value back afterwards
outcome    what the reports are made from
"""
