"""What Celery's workers say of themselves: an own receiver of Celery's events, without `inspect` and pidbox.

A remote-control call makes every worker answer and misses those that are busy; events are sent
anyway, and listening costs the workers nothing. Both transports read without Celery or kombu.

What workers send (celery 5.7 and kombu 5.7, each read in the source and seen with real workers):

* worker-online, worker-heartbeat every 2 s and worker-offline come from every worker, without -E
  and with --without-gossip as well. `--without-heartbeat` alone stops all three. Such a worker
  is known by its task events only, if it has -E, and then no silence tells that it is gone.
* `active` counts the tasks in slots with every pool, under early and late acknowledgement; a
  prefetched or ETA-held task isn't in it. `processed` counts the tasks started since the worker
  process runs.
* A solo worker does nothing else while a task runs: no heartbeat, and its received and started
  events come with the end of the task. So its `active` is always 0, and a silent one may be busy.
* prefork, threads and solo gather task events and send them as lists (task-multi, at most 24) at
  the next turn of their loop (seen: 0.5 s late, 1.5 s in a shutdown), gevent sends each by itself.
  Heartbeats aren't gathered and may overtake them. So durations are taken from the events' own
  timestamps, and counts are compared one heartbeat later (`worker`).
* prefork and threads send worker-offline as soon as the shutdown begins and then finish what they
  run; gevent after its last task. The events of that rest come after worker-offline and are left out.
* A task that raises Ignore ends without an event, a task that isn't registered fails without
  having started, and task-received of a retry may come before the task-retried that caused it.
* `timestamp` is seconds since the epoch, whatever the worker's time zone (`utcoffset` is for display).
* task-sent (task_send_sent_event) comes from the publisher and bears the publisher's host name.
"""

from scaler.sources.events.receiver import EventReceiver, open_receiver

__all__ = ["EventReceiver", "open_receiver"]
