"""The editor: paint a layout and see its photograph, in a browser on the same computer.

- `gesso.editor.server`: the web application;
- `gesso.editor.security`: who may ask, and what uploads are taken;
- `gesso.editor.rendering`: the model behind one lock;
- `gesso.editor.live`: photographs while people paint.
"""
