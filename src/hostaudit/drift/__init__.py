"""What is not as it was, or not as it should be: four comparisons, kept apart, and what tells who did it. Pure.

configured   what runs, against what the files and host.fw set
baseline     what is, against what somebody accepted, in a file that can live in git
cohort       a host, against the clear majority of those like it
last         what is, against the last run that drift told of

A fact that differs in several of them is one line which names each: a value set by hand at night usually differs in
all four. What moves by itself is not counted (``hostaudit.volatile``).
"""
