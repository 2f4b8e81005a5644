"""BPF programs of ktune and a small binding to load them. Standard library only.

The objects are compiled when ktune is made (`python -m ktune.kernel.bpf.build`) and lie beside
their sources in `programs/`; on a user's machine there is no compiler, only libbpf.so.1 (Debian:
libbpf1, which iproute2 depends on). Everything here raises BpfError with the reason; nothing falls
back.
"""
