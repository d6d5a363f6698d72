"""`celery-scaler demo`: a spike from start to end on one machine, with nothing to install.

Real are the service, Celery's workers, KEDA's protocol and (where it is found) redis-server.
Played are the cluster (worker processes stand for pods), KEDA with the HPA (`cluster.py`) and
the load (`traffic.py`).
"""
