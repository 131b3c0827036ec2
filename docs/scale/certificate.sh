#!/usr/bin/env bash
# One key and one certificate for scheduler, workers and coordinator: whoever has both files takes part.
#     docs/scale/certificate.sh ~/metagd-tls
set -euo pipefail
umask 077 # nobody else may read the key
mkdir -p "$1"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj /CN=metagd \
    -keyout "$1/key.pem" -out "$1/cert.pem"
