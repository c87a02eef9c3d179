//! The use of each attribute of a job's ad when condor_submit's job becomes a chain: one table.

/// How a chain uses an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// HTCondor or the backend sets it for each attempt, or each job has it for itself.
    Ours,
    /// A key of the config has the value.
    Key(&'static str),
    /// A resource: each job may have another number of it.
    Resource,
    /// It is passed on by this command, which changes the requirements, too.
    Command(&'static str),
    /// Its meaning needs code.
    Known,
    /// It can't have an effect in a chain, and why.
    NoEffect(&'static str),
    /// It can't be in a chain: why, and what to do.
    Refused(&'static str, &'static str),
    /// It stands in the ad of each attempt as it is.
    PassedOn,
    /// Likewise, with a note.
    PassedOnWith(&'static str),
}

const LATER: &str = "cu has no start at a time";
const WHEN: &str = "submit it when it may start: `at` and cron can do that";

/// The use of the attribute `name`, which has `value`.
pub fn use_of(name: &str, value: &str) -> Use {
    match name.to_ascii_lowercase().as_str() {
        // HTCondor's own notes.
        "clusterid" | "procid" | "qdate" | "owner" | "user" | "ntdomain" | "mytype" | "targettype"
        | "condorversion" | "condorplatform" | "submitversion" | "jobsubmitfile" | "jobsubmitmethod"
        | "enteredcurrentstatus" | "jobstatus" | "diskusage" | "imagesize" | "executablesize"
        | "transferinputsizemb" | "filesystemdomain" | "holdreason" | "oauthservicesneeded"
        // Each job has its own, or the backend.
        | "cmd" | "args" | "arguments" | "env" | "environment" | "envdelim" | "iwd" | "in" | "out" | "err"
        | "userlog" | "userlogusexml" | "requirements" | "cugivenrequirements" | "cugivengetenv" | "jobbatchname"
        // Output is copied while it is written, and nothing is transferred.
        | "streamin" | "streamout" | "streamerr" | "transferin" | "transferout" | "transfererr"
        | "transferexecutable" | "whentotransferoutput" | "wantftoncheckpoint" | "transfercheckpoint"
        | "preserverelativepaths"
        // What the universe makes of an image.
        | "wantcontainer" | "wantdocker" | "wantdockerimage" | "wantsif" | "wantsandboximage"
        | "containerimagesource" | "transfercontainer" => Use::Ours,
        "periodichold" | "periodicrelease" | "periodicremove" | "periodicvacate" | "onexithold" | "leavejobinqueue"
            if value.eq_ignore_ascii_case("false") =>
        {
            Use::Ours
        }
        "requestcpus" | "requestgpus" | "requestmemory" | "allowedjobduration" => Use::Resource,
        "rank" => Use::Key("backend.htcondor.rank"),
        "periodicremove" => Use::Key("backend.htcondor.periodic_remove"),
        "requiregpus" => Use::Command("require_gpus"),
        "jobuniverse" | "containerimage" | "dockerimage" | "requestdisk" | "jobmaxvacatetime" | "killsig"
        | "successcheckpointexitcode" | "onexitremove" | "jobmaxretries" | "transferinput" | "transferoutput"
        | "transferoutputremaps" | "shouldtransferfiles" => Use::Known,
        "jobnotification" => Use::PassedOnWith("HTCondor mails about each attempt"),
        "periodichold" => {
            Use::PassedOnWith("an attempt that is held so waits for `condor_release` or `cu stop`")
        }
        "periodicrelease" => Use::NoEffect(
            "cu ends an attempt that is held after its start, and submits the next one if it may",
        ),
        "leavejobinqueue" => Use::NoEffect("`cu show` and `cu logs` have what has ended"),
        "onexithold" => Use::Refused(
            "cu decides what the end of an attempt means",
            "leave it out: a job that fails stays failed until `cu retry`",
        ),
        "holdreasoncode" => Use::Refused(
            "a chain can't begin on hold",
            "leave it out, and submit the job when it may start",
        ),
        "jobsuccessexitcode" => Use::Refused(
            "to cu, success is exit code 0",
            "let the program exit with 0 when it is done, and with 3 to be submitted again",
        ),
        "allowedexecuteduration" => Use::Refused(
            "HTCondor keeps this limit only where files are transferred",
            "write allowed_job_duration",
        ),
        "deferraltime" | "deferralwindow" | "deferralpreptime" => Use::Refused(LATER, WHEN),
        "cronminute" | "cronhour" | "crondayofmonth" | "cronmonth" | "crondayofweek" => {
            Use::Refused(LATER, WHEN)
        }
        "jobmaterializelimit" | "jobmaterializemaxidle" => Use::Refused(
            "cu submits the attempts, and knows no limit on idle ones",
            "leave it out; backend.max_submitted=N before the file is the most that are queued or running",
        ),
        _ => Use::PassedOn,
    }
}

/// The command of a submit description that sets an attribute, where it has another name.
pub fn command_of(attribute: &str) -> Option<&'static str> {
    let all = [
        ("AllowedExecuteDuration", "allowed_execute_duration"),
        ("AllowedJobDuration", "allowed_job_duration"),
        ("Arguments", "arguments"),
        ("Args", "arguments"),
        ("Cmd", "executable"),
        ("ConcurrencyLimits", "concurrency_limits"),
        ("ContainerImage", "container_image"),
        ("DeferralTime", "deferral_time"),
        ("DockerImage", "docker_image"),
        ("Environment", "environment"),
        ("Env", "environment"),
        ("Err", "error"),
        ("HoldReasonCode", "hold"),
        ("In", "input"),
        ("Iwd", "initialdir"),
        ("JobMaterializeLimit", "max_materialize"),
        ("JobMaterializeMaxIdle", "max_idle"),
        ("JobMaxRetries", "max_retries"),
        ("JobMaxVacateTime", "job_max_vacate_time"),
        ("JobNotification", "notification"),
        ("JobPrio", "priority"),
        ("JobSuccessExitCode", "success_exit_code"),
        ("JobUniverse", "universe"),
        ("KillSig", "kill_sig"),
        ("LeaveJobInQueue", "leave_in_queue"),
        ("OnExitHold", "on_exit_hold"),
        ("OnExitRemove", "on_exit_remove"),
        ("Out", "output"),
        ("PeriodicHold", "periodic_hold"),
        ("PeriodicRelease", "periodic_release"),
        ("PeriodicRemove", "periodic_remove"),
        ("PeriodicVacate", "periodic_vacate"),
        ("Rank", "rank"),
        ("RequestCpus", "request_cpus"),
        ("RequestDisk", "request_disk"),
        ("RequestGPUs", "request_gpus"),
        ("RequestMemory", "request_memory"),
        ("RequireGPUs", "require_gpus"),
        ("Requirements", "requirements"),
        ("ShouldTransferFiles", "should_transfer_files"),
        ("SuccessCheckpointExitCode", "checkpoint_exit_code"),
        ("TransferInput", "transfer_input_files"),
        ("TransferOutput", "transfer_output_files"),
        ("TransferOutputRemaps", "transfer_output_remaps"),
        ("UserLog", "log"),
    ];
    let found = all
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(attribute));
    found.map(|(_, command)| *command)
}
