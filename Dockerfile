# Operator and twin in one image: no shell, no package manager, no compiler, nothing to write to.
#
#   make image                          with buildah, without a daemon
#   docker build -t kfarm-operator .    with BuildKit
#
# BASE only builds. Debian's packages are unpacked into an empty root and the rest is copied there,
# so that no file of BASE is in the result and fixes of Debian arrive however old BASE is.
ARG BASE=docker.io/library/debian:bookworm-slim@sha256:7c7b2c966bc9ee8cedfeef67e0e279108992c77681fa595db4a9d65c06ccc587

FROM ${BASE} AS tools
# Python for building and, unpacked only, all packages of the result: both from one apt-get update.
COPY requirements/debian.txt /tmp/debian.txt
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3.11 python3.11-venv \
    && mkdir /packages && cd /packages \
    && apt-get -o APT::Sandbox::User=root download $(grep -v '^#' /tmp/debian.txt) \
    && apt-get clean && rm -rf /var/lib/apt/lists/*
# Secrets of RUN, both optional: `pip`, a pip.conf for a mirror; `ca`, the certificates it is
# trusted by. They stay out of every layer.
COPY requirements/build.txt /tmp/build.txt
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    python3.11 -m venv /build \
    && /build/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r /tmp/build.txt
# Newest time that a file may have: wheels and root have the same bytes whenever they are built.
ARG SOURCE_DATE_EPOCH=1767225600
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} PYTHONDONTWRITEBYTECODE=1

FROM tools AS wheels
COPY crds/pyproject.toml crds/README.md /source/crds/
COPY crds/src /source/crds/src
COPY twin/pyproject.toml twin/README.md /source/twin/
COPY twin/src /source/twin/src
COPY operator/pyproject.toml operator/README.md /source/operator/
COPY operator/src /source/operator/src
RUN for part in crds twin operator; do \
      cd /source/$part && /build/bin/hatchling build -t wheel -d /wheels || exit 1; \
    done

FROM tools AS program
COPY requirements/runtime.txt /tmp/runtime.txt
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    python3.11 -m venv --without-pip /opt/kfarm \
    && /build/bin/pip --python /opt/kfarm/bin/python3.11 install --no-cache-dir --no-compile \
       --require-hashes --only-binary :all: -r /tmp/runtime.txt
# The twin first: an edit of the operator alone compiles no kernels. Bytecode is checked against
# nothing, so that times of files do not matter.
COPY --from=wheels /wheels/kfarm_api-*.whl /wheels/kfarm_twin-*.whl /wheels/
RUN /build/bin/pip --python /opt/kfarm/bin/python3.11 install --no-cache-dir --no-compile \
      --no-deps --no-index /wheels/*.whl \
    && /opt/kfarm/bin/python3.11 -m compileall -q --invalidation-mode unchecked-hash /opt/kfarm/lib
# Kernels are compiled for a family of processors, not for the machine that builds: AVX2 and FMA,
# which every server since 2015 has. Other architectures name theirs, for example neoverse-n1.
ARG CPU=x86-64-v3
ENV NUMBA_CPU_NAME=${CPU} NUMBA_CPU_FEATURES=
RUN KFARM_CACHE=/opt/kfarm /opt/kfarm/bin/kfarm warm
COPY --from=wheels /wheels/kfarm_operator-*.whl /wheels/
# Some wheels mark modules as programs.
RUN /build/bin/pip --python /opt/kfarm/bin/python3.11 install --no-cache-dir --no-compile \
      --no-deps --no-index /wheels/kfarm_operator-*.whl \
    && /opt/kfarm/bin/python3.11 -m compileall -q --invalidation-mode unchecked-hash \
      /opt/kfarm/lib/python3.11/site-packages/kfarm_operator \
    && find /opt/kfarm/lib -type f -name '*.py' -perm /111 -exec chmod a-x {} + \
    && find /opt/kfarm -exec touch --no-dereference --date=@$SOURCE_DATE_EPOCH {} + \
    && chmod -R u=rwX,go=rX /opt/kfarm

FROM tools AS root
# Unpacked, not installed: no package's script is needed. Scanners read status.d.
RUN mkdir -p /root-of-image/var/lib/dpkg/status.d && cd /packages \
    && for package in *.deb; do \
         dpkg-deb --extract $package /root-of-image \
         && dpkg-deb --field $package > /root-of-image/var/lib/dpkg/status.d/${package%%_*} \
         || exit 1; \
       done \
    && cd /root-of-image \
    && find usr/share/doc -type f ! -name copyright -delete \
    && rm -rf usr/share/man usr/share/locale usr/share/lintian usr/share/bug etc/update-motd.d \
    && find usr/lib/python3.11 -type f -perm /111 ! -name '*.so' -exec chmod a-x {} + \
    && python3.11 -m compileall -q --invalidation-mode unchecked-hash -s /root-of-image -p / \
       -x '/(test|lib2to3)/' usr/lib/python3.11 \
    && mkdir -p etc/ssl/certs \
    && cp /etc/ssl/certs/ca-certificates.crt etc/ssl/certs/ \
    && printf 'root:x:0:0:root:/:/nonexistent\nkfarm:x:65532:65532:kfarm:/tmp:/nonexistent\n' > etc/passwd \
    && printf 'root:x:0:\nkfarm:x:65532:\n' > etc/group \
    && find . -perm /6000 -exec chmod ug-s {} + \
    && find . -exec touch --no-dereference --date=@$SOURCE_DATE_EPOCH {} +

FROM scratch
ARG CPU=x86-64-v3
COPY --from=root /root-of-image /
COPY --from=program /opt/kfarm /opt/kfarm
LABEL org.opencontainers.image.title="kfarm" \
      org.opencontainers.image.description="Digital twin of accelerator farms and the operator that releases pods by it" \
      org.opencontainers.image.licenses="Apache-2.0"
# KFARM_KERNELS: compiled kernels, read-only; KFARM_CACHE: a private directory that links to them.
ENV PATH=/opt/kfarm/bin \
    HOME=/tmp \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NUMBA_CPU_NAME=${CPU} \
    NUMBA_CPU_FEATURES= \
    KFARM_KERNELS=/opt/kfarm/kernels \
    KFARM_CACHE=/tmp/kfarm
USER 65532:65532
WORKDIR /tmp
# Probes are the chart's.
HEALTHCHECK NONE
ENTRYPOINT ["kfarm-operator"]
