"""Several processes, on one or several machines, at one run. Imports no torch.

    RUN/claims/processes/PROCESS             rewritten every second while the process lives     (presence)
    RUN/claims/held/NAME/PROCESS-NUMBER/     the lock NAME, held by a process; it moves by renaming      (locks)
    RUN/claims/held/MODEL@ARM@SEED/…/cell/   the folder of a cell while it is worked on                  (claims)
    RUN/claims/held/alone/…/                 an ordinary `elicit run`, which shares with nobody          (alone)

Only renaming, making and removing folders decide who works on what: a file server does each of them whole and one after
the other. File locks, clocks and times of change of other machines are not used.
"""
