<?php
// A page that tells what it asked of the cluster.
echo file_get_contents('http://echo-server/bytes/5'), ' from ', getmypid();
