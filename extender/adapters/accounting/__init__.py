"""Energy and carbon of every application: measured or modelled, booked once, kept, explained.

Entry points: `accountant.Accountant` for the service, `report.report_command` for the command line.
"""
