"""The one loop: objectives, methods, optimisers, schedules; verbs pretrain and adapt."""
