# SPDX-License-Identifier: Apache-2.0
# Completes smolvla's command line in zsh.
if [[ -o interactive ]]; then
  (( ${+_comps} )) || { autoload -Uz compinit && compinit }
  autoload -Uz bashcompinit && bashcompinit
  eval "$(register-python-argcomplete smolvla 2>/dev/null ||
    register-python-argcomplete3 smolvla 2>/dev/null)"
fi
