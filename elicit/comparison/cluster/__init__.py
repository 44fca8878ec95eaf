"""Cells of a comparison as tasks of a Ray cluster. Ray is imported when a cluster is opened, and torch by the workers.

connection     a cluster of this machine, or one that exists
demand         CPUs, GPUs and memory of a cell
code_identity  the code of a process, as a hash
nodes          the nodes, and what each must have: the same code, the models
remote_cell    one cell, on a worker
cell_files     its files as bytes, for nodes that do not see the run's folder
ray_executor   claims cells, sends them out, and sends them again when a worker or a node dies
"""
