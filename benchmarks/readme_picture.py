"""Draw README's picture from the errors that `make quickstart` wrote (needs kaleido and a Chromium browser).

python benchmarks/readme_picture.py quickstart/report_errors.csv nbs/images/quickstart.png
"""

import sys

import pandas as pd

from fusionbook.plots import error_by_task

fig = error_by_task(pd.read_csv(sys.argv[1]))
fig.write_image(sys.argv[2], width=760, height=430, scale=1.5)
