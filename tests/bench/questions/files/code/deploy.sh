#!/bin/sh
# Copies the built site to the server and keeps the last five versions.
set -eu
version=$(date +%Y%m%d%H%M%S)
rsync -a public/ "web:/srv/site/$version/"
ssh web "ln -sfn /srv/site/$version /srv/site/current && ls -dt /srv/site/2* | tail -n +6 | xargs -r rm -r"
