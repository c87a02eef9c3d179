//! The arguments of `cu sbatch`.

use clap::Args;
use clap::builder::FalseyValueParser;

/// `cu sbatch`
#[derive(Debug, Args)]
#[command(
    override_usage = "cu [OPTIONS] sbatch [OPTIONS OF SBATCH] [KEY=VALUE]... SCRIPT [ARGUMENT]...\n       \
                      cu [OPTIONS] sbatch [OPTIONS OF SBATCH] [KEY=VALUE]... --wrap=COMMAND",
    after_help = SBATCH_HELP
)]
pub struct Sbatch {
    /// Make the run even if other users may rename directories above it, and so replace it
    #[arg(long, hide = true, env = "CU_TRUST_PARENTS", value_parser = FalseyValueParser::new())]
    pub trust_parents: bool,
    /// The words that would follow `sbatch`, and keys of the config before the script
    #[arg(last = true, value_name = "WORD", hide = true)]
    pub words: Vec<String>,
}

const SBATCH_HELP: &str = "\
Takes every option of sbatch: in #SBATCH lines, in variables (SBATCH_...) and on the command
line. It submits the script as sbatch would, and prints what is different for a chain.
Options of cu come before `sbatch`.

In each attempt the script runs from its beginning. The chain ends with an attempt that exits
with 0 unasked, or fails. The next attempt follows one that exits with 3, reaches its time
limit, is asked to stop by --signal, or loses its node. A script that continues from its own
checkpoint needs nothing else.

  #SBATCH --signal=USR1@120   cu sends USR1 120 s before the limit, to whatever handles it
  stop.after=50min            cu asks it to stop after 50 minutes; any key of the config
                              may stand before the script

- The script is copied: later changes to it do not reach the run. $0 is the copy.
- It starts in the current directory (or --chdir), with the variables of this shell and
  those of Slurm.
- Output is copied to where sbatch writes it (slurm-%j.out, or --output). In a file without
  %j all attempts follow each other. A missing directory is made.
- `Submitted batch job ID` names the first job; later attempts have ids of their own. For the
  whole run use `cu watch`, `cu logs`, `cu stop`, and `cu wait`, which exits when it is done.
  A main process stays in the background, unless --wait is given.
- Refused: --array, heterogeneous jobs, #PBS lines, --dependency=singleton. Other
  dependencies, --begin and --hold hold for the first attempt alone.

Examples:
  cu sbatch train.sh --epochs 100
  cu sbatch -p gpu -t 4:00:00 --signal=USR1@300 train.sh
  cu sbatch --wrap 'python train.py'";
