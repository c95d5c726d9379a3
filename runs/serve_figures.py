import subprocess, sys
sys.exit(subprocess.call(["bash", "/tmp/serve2/slot_" + sys.argv[1] + ".sh"]))
