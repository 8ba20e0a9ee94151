"""From a `Plan` to pixels. torch and diffusers live here and nowhere else; only the worker process imports it.

`run` is the door: it turns a Plan into events. A family (`sdxl`) loads weights and knows how to encode, predict
and decode; `denoise` walks, `guidance` corrects, `samplers` says where the steps are, `preview` watches.
"""
