# Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
"""What nobody needs to train or to score."""
