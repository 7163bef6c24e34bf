#!/bin/sh
# A fence agent before a power switch that is two files: NODE.cut asks, NODE.off answers.
while IFS== read -r key value; do
    case $key in action) action=$value ;; nodename) node=$value ;; esac
done
at=DIRECTORY/power/$node
case $action in
metadata)
    echo '<resource-agent name="fence_cut"><parameters/><actions><action name="off"/>
        <action name="status"/><action name="monitor"/></actions></resource-agent>'
    ;;
off)
    touch "$at.cut"
    while ! [ -e "$at.off" ]; do sleep 0.01; done
    ;;
status) ! [ -e "$at.off" ] || exit 2 ;;
esac
