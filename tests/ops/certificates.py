"""A certificate authority for one run, by the openssl program: keys and certificates as PEM files, valid for a day."""
import subprocess
from pathlib import Path


def openssl(*arguments, folder):
    done = subprocess.run(["openssl", *map(str, arguments)], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments}: exit {done.returncode}\n{done.stdout}")


class Authority:
    """Writes <folder>/ca.crt, and <name>.key (PKCS 8, mode 0600), <name>.crt and <name>.pem (both in one) for each issue()."""

    def __init__(self, folder, name="topk test authority"):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        self.folder.chmod(0o755)
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", f"/CN={name}",
                "-keyout", "ca.key", "-out", "ca.crt", folder=self.folder)
        self.certificate = self.folder / "ca.crt"

    def issue(self, name, host=None):
        """For a client called `name`, or for a server at `host`."""
        names = f"subjectAltName=DNS:{host}" if host else "extendedKeyUsage=clientAuth"
        (self.folder / f"{name}.ext").write_text(names + "\n")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key",
                "-out", f"{name}.csr", folder=self.folder)
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "1",
                "-extfile", f"{name}.ext", "-out", f"{name}.crt", folder=self.folder)
        key, certificate, both = (self.folder / f"{name}.{kind}" for kind in ("key", "crt", "pem"))
        key.chmod(0o600)
        both.write_text(key.read_text() + certificate.read_text())
        both.chmod(0o600)
        return key, certificate
