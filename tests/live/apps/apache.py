"""Apache with mod_wsgi: `apache.py PORT PROCESSES`; 0 processes stand for the embedded mode.

Apache's children are another user when it is started by root, so everything is copied to where all may read.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

port, processes = int(sys.argv[1]), int(sys.argv[2])
folder = Path(tempfile.mkdtemp(prefix="apache-"))
folder.chmod(0o755)
for name in ("ratelimit_kit", "wrapt", "redis"):
    shutil.copytree(Path(find_spec(name).origin).parent, folder / name)
for name in ("memory_app.py", "given_store.py"):
    shutil.copy(Path(__file__).with_name(name), folder)
user = "User www-data\nGroup www-data" if os.getuid() == 0 else ""
mode = f"WSGIDaemonProcess site processes={processes} python-path={folder}\nWSGIProcessGroup site"
(folder / "apache.conf").write_text(f"""
ServerRoot {folder}
Listen 127.0.0.1:{port}
ServerName localhost
PidFile {folder}/pid
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule wsgi_module /usr/lib/apache2/modules/mod_wsgi.so
ErrorLog /dev/stderr
{user}
WSGISocketPrefix {folder}/wsgi
{mode if processes else f"WSGIPythonPath {folder}"}
WSGIScriptAlias / {folder}/memory_app.py
<Directory {folder}>
Require all granted
</Directory>
""")
apache = subprocess.Popen(["apache2", "-f", str(folder / "apache.conf"), "-DFOREGROUND"])
signal.signal(signal.SIGTERM, lambda *_: apache.terminate())
apache.wait()
