# SPDX-License-Identifier: Apache-2.0
# Completes smolvla's command line; argcomplete is asked for its part at the first Tab.
_smolvla_complete() {
  eval "$(register-python-argcomplete smolvla 2>/dev/null ||
    register-python-argcomplete3 smolvla 2>/dev/null || echo complete -o default smolvla)"
  return 124 # bash looks anew for how smolvla is completed
}
complete -F _smolvla_complete smolvla
