"""How fast a transfer may go (ACP): slower before the network has to drop, faster again after it.

Two things do it. The kernel's congestion control (:mod:`kernel`) answers to every round trip. Above it, :mod:`pace` looks at the path twice
a second, over all streams of the transfer together, and caps their rate when the path shows what that control lets happen: loss that
lasts, as several BBR streams over a short queue cause it, or a queue of more than 100 ms.

**Why it is fair to another flow.** When a link is too full, those who share it see the same signs, whoever sends more. Each then cuts its
rate by the same factor (multiplicative decrease), and when the signs are gone each adds the same number of bytes per second, whatever its
rate is (additive increase: it grows with the time since congestion, not with the rate). A cut shrinks the difference between two flows by
its factor, and an increase leaves the difference as it is and makes both larger; so the shares become equal, from wherever they began
(Chiu and Jain, *Analysis of the increase and decrease algorithms for congestion avoidance in computer networks*, 1989; an increase that
grows with time alone is H-TCP's: Leith and Shorten, 2004). An increase by a percentage of the rate would keep the ratio forever.

It is fair to flows that do the same. Below 5 % loss and 100 ms of queue it does nothing, and what other flows get there is what the
kernel's congestion control leaves them.
"""
