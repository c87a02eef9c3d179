#!/usr/bin/perl
#SBATCH -o out.log
#SBATCH --ntasks 1 --mem=20M
use strict;
$| = 1;
my ($asked, $step) = (0, 0);
$SIG{TERM} = sub { $asked = 1 };
if (open my $state, '<', 'state') { $step = <$state> }
while ($step < 8) {
    select undef, undef, undef, 0.5;
    $step++;
    print "step $step of $ENV{SLURM_JOB_NAME}\n";
    open my $state, '>', 'state' or die;
    print $state $step;
    close $state;
    exit 0 if $asked;
}
open my $result, '>', 'result' or die;
print $result "@ARGV\n";
