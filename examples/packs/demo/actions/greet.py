"""Greets whoever the parameters name."""

import json
import sys

parameters = json.load(sys.stdin)
text = f"{parameters['greeting']}, {parameters['name']}!"
print(text, file=sys.stderr)
print(json.dumps({"text": text, "letters": len(parameters["name"])}))
