"""What queues answer, after their manuals: of a driver's job and of its workers' jobs.

Slurm runs in tests (`tests/slurm`); of the others nobody has one here.
"""

DRIVER = "clustergrid-0a1b2c3d"
WORKER = f"{DRIVER}-worker"

GRID_ENGINE = f"""<?xml version='1.0'?>
<job_info  xmlns:xsd="http://arc.liv.ac.uk/repos/darcs/sge/source/dist/util/resources/schemas/qstat/qstat.xsd">
  <queue_info>
    <job_list state="running">
      <JB_job_number>4711</JB_job_number>
      <JAT_prio>0.55500</JAT_prio>
      <JB_name>{DRIVER}</JB_name>
      <JB_owner>ann</JB_owner>
      <state>r</state>
      <JAT_start_time>2026-11-23T09:00:00</JAT_start_time>
      <queue_name>all.q@node17</queue_name>
      <slots>2</slots>
    </job_list>
  </queue_info>
  <job_info>
    <job_list state="pending">
      <JB_job_number>4712</JB_job_number>
      <JAT_prio>0.00000</JAT_prio>
      <JB_name>{WORKER}</JB_name>
      <JB_owner>ann</JB_owner>
      <state>qw</state>
      <JB_submission_time>2026-11-23T09:00:05</JB_submission_time>
      <queue_name></queue_name>
      <slots>4</slots>
    </job_list>
    <job_list state="pending">
      <JB_job_number>4713</JB_job_number>
      <JB_name>{WORKER}</JB_name>
      <state>Eqw</state>
      <queue_name></queue_name>
    </job_list>
    <job_list state="pending">
      <JB_job_number>4714</JB_job_number>
      <JB_name>{WORKER}</JB_name>
      <state>hqw</state>
      <queue_name></queue_name>
    </job_list>
  </job_info>
</job_info>
"""

PBS = f"""{{
    "timestamp":1795424405,
    "pbs_version":"23.06.06",
    "pbs_server":"pbs01",
    "Jobs":{{
        "4711.pbs01":{{
            "Job_Name":"{DRIVER}",
            "Job_Owner":"ann@login1",
            "job_state":"R",
            "queue":"workq",
            "exec_host":"node17/0*2+node18/0",
            "stime":"Mon Nov 23 09:00:00 2026",
            "comment":"Job run at Mon Nov 23 at 09:00 on (node17:ncpus=2)"
        }},
        "4712.pbs01":{{
            "Job_Name":"{WORKER}",
            "job_state":"Q",
            "comment":"Not Running: Insufficient amount of resource: ncpus"
        }},
        "4713.pbs01":{{
            "Job_Name":"{WORKER}",
            "job_state":"F",
            "exec_host":"node18/0",
            "Exit_status":271,
            "comment":"Job run at Mon Nov 23 at 09:00 on (node18:ncpus=4) and terminated"
        }}
    }}
}}
"""

LSF = f"""{{
  "COMMAND":"bjobs",
  "JOBS":4,
  "RECORDS":[
    {{
      "JOBID":"4711",
      "JOB_NAME":"{DRIVER}",
      "STAT":"RUN",
      "EXEC_HOST":"2*node17:2*node18",
      "START_TIME":"Nov 23 09:00",
      "PEND_REASON":"",
      "EXIT_CODE":"",
      "EXIT_REASON":""
    }},
    {{
      "JOBID":"4712",
      "JOB_NAME":"{WORKER}",
      "STAT":"PEND",
      "EXEC_HOST":"",
      "START_TIME":"",
      "PEND_REASON":"New job is waiting for scheduling;",
      "EXIT_CODE":"",
      "EXIT_REASON":""
    }},
    {{
      "JOBID":"4713",
      "JOB_NAME":"{WORKER}",
      "STAT":"EXIT",
      "EXEC_HOST":"node18",
      "START_TIME":"Nov 23 09:01",
      "PEND_REASON":"-",
      "EXIT_CODE":"130",
      "EXIT_REASON":"TERM_MEMLIMIT: job killed after reaching LSF memory usage limit"
    }},
    {{
      "JOBID":"4714",
      "ERROR":"Job <4714> is not found"
    }}
  ]
}}
"""

HTCONDOR = f"""[
{{
  "ClusterId": 4711,
  "JobBatchName": "{DRIVER}",
  "JobCurrentStartDate": 1795424400,
  "JobStatus": 2,
  "ProcId": 0,
  "RemoteHost": "slot1_1@node17.example.org"
}},
{{
  "ClusterId": 4712,
  "JobBatchName": "{WORKER}",
  "JobStatus": 1,
  "ProcId": 0
}},
{{
  "ClusterId": 4713,
  "HoldReason": "Job has gone over memory limit of 954 megabytes.",
  "JobBatchName": "{WORKER}",
  "JobStatus": 5,
  "LastRemoteHost": "slot1_2@node18.example.org",
  "ProcId": 0
}}
]
"""

SLURM = f"""4711|RUNNING|node17|2026-11-23T09:00:00|None|{DRIVER}
4712|PENDING||N/A|Resources|{WORKER}
4713|OUT_OF_MEMORY|node18|2026-11-23T09:01:00|OutOfMemory|{WORKER}
"""
