"""The page: restoring a picture or a sound in a browser, ``kintsugi ui``.

* ``asked.py``: what a visitor may ask for, checked, and the recipe of the command line that it is;
* ``look.py``: what is wrong with a picture, where the visitor does not know;
* ``mend.py``: one restoration in a folder of its own, ``pictures.py`` with ``cli/picture.py`` and ``sounds.py`` with
  ``cli/sound.py``, so that its files equal the command's; ``results.py``: what is known of it;
* ``steps.py``: the pictures on the way, and the stop button;
* ``words.py``: the command line and the Python that do the same, and errors in plain words;
* ``workshop.py``: one restoration at a time, a bounded queue in which clients take turns, nothing kept for long;
* ``service.py``: the routes under ``/mend``; ``door.py``: what no request gets past;
* ``page.py``, ``static/``: what the visitor sees. The form is gradio's, the easel and the result are our own.

Files never pass through gradio: it would tell every visitor the folder of its files, and shows a file to whoever
knows its name. Only ``page.py`` and ``serve.py`` import it.
"""
